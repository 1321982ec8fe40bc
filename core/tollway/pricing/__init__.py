"""What a call costs: usage in the classes that providers price, price rows, and the book of all known models.

Belongs here: exact integer arithmetic on prices, the format of the price data, and the data itself. Does not belong
here: which price applies to which AIProvider (`deciding`), and how usage is read from an answer (`providers`).
"""
