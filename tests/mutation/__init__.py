"""The mutation run: does the suite notice when a line of the package is wrong? See README.md."""
