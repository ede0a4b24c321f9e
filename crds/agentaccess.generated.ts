// Generated from x by `make generate`. Do not edit.
