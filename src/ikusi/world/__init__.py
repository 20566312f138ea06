"""The embedded world: pictures of emoji, the names people gave them, and questions about them."""
