"""How Redis is reached: the only place that imports redis."""
