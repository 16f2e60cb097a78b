"""Everything that knows Synapse: its API, the dialects of its payloads, and its file lists.

``http`` sends requests, ``client`` adds the SDK's credentials and single calls, ``listing`` plans and lists records,
``documents`` turns a payload of any dialect into samples, and ``source`` puts them together. The Synapse SDK is
imported nowhere else.
"""
