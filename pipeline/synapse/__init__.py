"""Everything that knows Synapse: its API, its payload dialects, its file lists.

``client`` talks HTTP, ``filters`` translates the configuration's words, ``documents`` turns a payload of any dialect
into samples, and ``source`` puts them together. The Synapse SDK is imported nowhere else.
"""
