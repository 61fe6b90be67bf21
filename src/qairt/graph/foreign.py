"""placeholder until the foreign graphs land"""
