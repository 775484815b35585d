"""Commands for the folder a project lives in: start its stack, bring it the template's next version."""
