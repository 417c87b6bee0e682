"""HTTP servers compared: Freehold's, three in Python and one in Node.js, on the same tables, policies and triggers."""
