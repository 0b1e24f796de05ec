"""Carbon Intensity API of Great Britain: forecasts, outturns and generation mixes."""
