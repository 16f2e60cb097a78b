"""HTTP under the rules of the SDK: one client session, bounded and restricted to known hosts."""
