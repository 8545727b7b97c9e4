"""An example of a store plug-in: blobs as the files of one flat folder."""
