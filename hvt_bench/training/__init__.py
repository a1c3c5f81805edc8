"""What the accuracy metric runs: data sets, recipes, and the loop that trains a network and evaluates it."""
