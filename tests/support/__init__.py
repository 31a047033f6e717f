"""What tests of several areas share: a gateway on a sandbox, and calls held side by side."""
