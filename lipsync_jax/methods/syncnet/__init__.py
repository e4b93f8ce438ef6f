"""SyncNet v2 (Chung and Zisserman 2016)."""
