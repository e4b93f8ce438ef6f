"""Jain et al.'s recurrent generator from MFCCs."""
