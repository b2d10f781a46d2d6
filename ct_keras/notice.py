"""What every output says: in files, on pages, on the terminal."""

NOTICE = "Research use only. Not for diagnostic use."
