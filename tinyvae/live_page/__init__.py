"""The live page: one HTML file with a trained model in it, which runs in a browser without a server.

model.py describes a trained model as JSON, page.py puts the JSON and the sources in source/ together.
The sources are read in the order of `page.SCRIPTS`: arrays.js, layers.js and model.js are the model.
"""
