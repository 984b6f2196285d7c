"""demo_models"""
