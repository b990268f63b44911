"""The policy language: documents, their validation, compiled matching, and the evaluation of many policies together.

Everything here is a pure function over plain values; nothing reads a table.
"""
