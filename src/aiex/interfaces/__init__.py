"""Front doors that turn a wire or a terminal into a request and render events."""
