"""Numbers of every node of a model for the graph of Google's Model Explorer: cost, time, relevance, health."""
