"""The protocol without input and output: no socket, no clock, no Trio.

Datagrams and the time come in as arguments; datagrams and a deadline come out.
"""
