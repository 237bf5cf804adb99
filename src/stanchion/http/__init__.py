"""HTTP ground: problem details, paging, the authenticated Ctx of a request."""
