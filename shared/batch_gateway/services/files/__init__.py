"""Files: uploaded whole or in parts, or produced by batches.

service        files: create, list, read, delete
uploads        files in parts
content        checks of a received file
storage_check  checks of a tenant's storage quota before its bytes are sent
dependencies   stores, clock and limits of both services
"""
