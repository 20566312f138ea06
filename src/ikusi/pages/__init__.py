"""What every page that ikusi writes is made of: markup, plots, style; also Markdown."""
