"""Who somebody is: identifiers, keys, cards and bindings (spec/05-identity). Pure."""
