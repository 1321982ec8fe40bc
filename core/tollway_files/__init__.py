"""Files that others read while we change them: for the operator, the data plane and the command alike.

Here belongs how files are written so that no reader ever sees half of a change. What is in them does not, nor who reads
them; and nothing here knows a clock, a network or a resource.
"""
