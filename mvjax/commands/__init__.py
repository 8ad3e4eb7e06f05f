"""The commands of `mvjax`, a file for each; heavy imports come inside."""
