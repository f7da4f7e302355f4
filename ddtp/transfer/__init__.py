"""The network door: streams between two peers, and the exchange that runs over them (spec/08, spec/14)."""
