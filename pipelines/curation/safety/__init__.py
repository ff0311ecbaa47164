"""Safety and bias of a corpus: word lists, what filters remove by identity group, what is said about whom.

`matching` finds the phrases of lists in texts, `groups` are the identity groups and word sets of the audit, `filters`
asks a curation's rules about neutral sentences, `corpus` counts mentions and associations before and after,
`counterfactual` and `weights` change what is counted. All of it reports; none of it makes a corpus fair.
"""
