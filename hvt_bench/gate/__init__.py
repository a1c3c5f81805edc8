"""The gate: budgets for what a network costs, checked by counting. Measures nothing, needs no GPU.

budgets.yaml ─ load.read ─> Entry ─ check.check ─> Verdict ─ render ─> text, markdown, github, junit, json
                 │ forms: what a budget may look like      │ changes: the modules that moved; patterns: which are meant
                 └ update: new numbers in the same place   └ recorded, revision: what they cost before
"""
