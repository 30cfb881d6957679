"""The commands of `gan-client`: each parses its arguments, calls the library and prints."""
