"""Attribution: what a network's answer rests on, with a check that it rests on what was learned."""
