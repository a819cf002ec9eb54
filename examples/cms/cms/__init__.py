"""A small content management system (CMS) whose search index lives in Chroma, behind Achromat.

It names no address of its own and stores nothing beside the server: documents are files that the
team keeps, the index is one collection, and a record in `cms_settings` says which one.
"""

__version__ = "0.1.0"
