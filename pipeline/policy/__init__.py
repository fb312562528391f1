"""Judging: the policy file, its rules, the plug-in API. Pure."""
