"""What a person permits: requests, screens and grants (spec/06-consent). Pure."""
