"""fastText classifiers of documents: trained on what two or more sets of text hold, assessed on what was held out.

`examples` reads and splits the sets, `training` fits a model, `assessment` says how well it tells held-out documents
apart, `card` is the account that lies beside a model, `model` scores with it, `build` does all of it on Ray. The rule
`classifier` (`pipelines.curation.rules.classifier`) keeps documents by the scores.
"""
