"""How it is shown: tables, drawings, and the report as Markdown, HTML and JUnit XML."""
