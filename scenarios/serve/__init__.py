"""The four sources as HTTP servers on this machine, answering from a scenario.

Same bytes as the replay's transport, over real sockets, under a clock that is an argument, with
faults that are really done to the connection. For developing and testing without the internet.
"""
