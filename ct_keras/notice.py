"""The notice on every output: in files, on pages, on the terminal."""

NOTICE = "Research use only. Not for diagnostic use."
