"""What a request costs: price grammar, catalogue, LLM prices, and the book that joins them.

Import from the modules: `spec` is what the configuration reader needs and imports nothing heavy,
`book` answers every question about prices.
"""
