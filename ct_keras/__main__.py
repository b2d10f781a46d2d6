"""`python -m ct_keras`: the command line, safe to start in a folder of data.

Python looks for modules in the working folder first; a file there, such as json.py,
would run in place of Python's own.
"""

import os
import sys


def _leave_working_folder() -> None:
    """Takes the working folder out of where modules are looked for.

    It stays, as the last place, if the package itself was found there.
    """
    if sys.flags.safe_path or not sys.path:
        return
    folder = os.path.realpath(sys.path[0])
    if folder != os.path.realpath(os.getcwd()):
        return
    first = sys.path.pop(0)
    own = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    if folder == own:
        sys.path.append(first)


if __name__ == "__main__":
    _leave_working_folder()
    from ct_keras.cli.main import main

    main()
