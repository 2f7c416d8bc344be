"""Viewing: slices of a received series as pictures for a browser, with our map to lay over them.

What was received is decoded in a limited child of its own, as the worker's is, and never in the
process that serves pages. The pictures lie in a bounded folder (`cache`), each set under a digest
of all that it was made from; they can be made again at any time, so that nothing here is durable.
Models are not needed, and not imported.
"""
