"""The server of a node: bounds on who connects and on what arrives unread.

pynetdicom reads whatever length a peer announces, waits for TLS in the thread that
accepts connections, and collects a message in memory until it is complete. The classes
here bound all of that before a DICOM service is reached.
"""

from __future__ import annotations

import socket
import ssl
from socketserver import TCPServer

from pynetdicom import evt
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from ct_keras.node.settings import NodeSettings

#: Longest PDU that is announced to senders, in bytes.
PDU_BYTES = 2**17
#: Longest PDU that is read, with room for the requests of odd senders.
_LONGEST_PDU_BYTES = 2**20
#: Connections beyond the associations that wait for a refusal.
_SPARE_CONNECTIONS = 5
#: Requests that a sender may have sent before the first is answered.
_UNANSWERED = 4
#: Seconds in which a sender must go on, and in which it must have introduced itself.
NETWORK_SECONDS, GREETING_SECONDS = 60, 30


class BoundedServer(ThreadedAssociationServer):
    """Accepts connections from allowed addresses only, and never waits for one.

    Args:
        settings: Who may connect, and the limits.
        refused: Called with an address that may not connect.
        *arguments: As `ThreadedAssociationServer`.
        **options: As `ThreadedAssociationServer`.
    """

    daemon_threads = True

    def __init__(self, *arguments, settings: NodeSettings, refused, **options):
        self.settings = settings
        self._refused = refused
        super().__init__(*arguments, request_handler=BoundedHandler, **options)
        self.bind(evt.EVT_DATA_RECV, self._count)
        self.bind(evt.EVT_DIMSE_RECV, self._message_complete)
        self._unread: dict[object, int] = {}
        self.bind(evt.EVT_CONN_CLOSE, lambda event: self._unread.pop(event.assoc, 0))

    def get_request(self) -> tuple[socket.socket, tuple]:
        """Accepts a connection; a handshake is left to its own thread."""
        connection, address = self.socket.accept()
        connection.settimeout(GREETING_SECONDS)
        if self.ssl_context:
            connection = self.ssl_context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def verify_request(self, request, client_address) -> bool:
        """Whether a connection may go on; otherwise it is closed unanswered."""
        limit = self.settings.limits.associations + _SPARE_CONNECTIONS
        if not self.settings.allows(client_address[0]):
            self._refused(client_address[0])
            return False
        return len(self.active_associations) < limit

    def process_request_thread(self, request, client_address) -> None:
        """Finishes the handshake, then serves the connection."""
        try:
            if isinstance(request, ssl.SSLSocket):
                request.do_handshake()
            request.settimeout(NETWORK_SECONDS)
        except OSError:
            self.shutdown_request(request)
            return
        super().process_request_thread(request, client_address)

    def shutdown(self) -> None:
        """Ends `serve_forever` and closes the port."""
        TCPServer.shutdown(self)
        self.server_close()

    def handle_error(self, request, client_address) -> None:
        """Connections that break are closed without a word on the terminal."""

    def _count(self, event) -> None:
        """Ends an association whose message is longer than an instance may be."""
        unread = self._unread.get(event.assoc, 0) + len(event.data)
        self._unread[event.assoc] = unread
        room = self.settings.limits.instance_bytes + _LONGEST_PDU_BYTES
        if unread > room or event.assoc.dimse.msg_queue.qsize() > _UNANSWERED:
            event.assoc.abort()

    def _message_complete(self, event) -> None:
        self._unread[event.assoc] = 0


class BoundedHandler(RequestHandler):
    """Reads no PDU that announces an unreasonable length."""

    def _create_association(self):
        association = super()._create_association()
        connection = association.dul.socket
        read = connection.recv

        def bounded(length: int) -> bytearray:
            if length > _LONGEST_PDU_BYTES:
                raise OSError("a PDU is too long")
            return read(length)

        connection.recv = bounded
        return association
