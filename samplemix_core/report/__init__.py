"""A mixture, shown: its manifest and its profile come in; text, tables and a picture go out."""
