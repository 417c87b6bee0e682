"""The Online Retail data in the CRM: half a million dirty invoice lines of a wholesaler, one organization for each country.

`lines` says what a line is and which are refused, `survey` reads the file once and finds customers, products and orders in
it, `importing` writes them, `credits` links what was taken back to what had been sold, `sample` makes a file of the same shape
where the data is not there. `python -m examples.renoz.retail` does all of it.
"""
