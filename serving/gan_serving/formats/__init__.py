"""Images to bytes: PNG, WebP, JPEG, NPY, ZIP, NDJSON, sheets and animations, and which of them a request gets."""
