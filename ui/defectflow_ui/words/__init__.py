"""Every string a user reads, one module per page. Plain words; a term that needs explaining gets a tooltip."""
