"""When a study is complete, and what it then holds; pure decisions on what storage recorded."""
