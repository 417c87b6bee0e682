"""The peers in Python: hand-written applications that share models and statements, and differ in framework and driver."""
