"""The live page: one HTML file with a trained model in it, that computes in the browser.

model.py describes a trained model as JSON. page.py puts the JSON and the sources in source/
together. Read the sources in the order of `page.SCRIPTS`: arrays.js, layers.js and model.js are the
model, the others are what is seen of it.
"""
