"""What we ask Redis, as values: pure functions that build a call and read its reply.

Nothing here imports redis or asyncio, reads a clock, or draws a random number.
"""
